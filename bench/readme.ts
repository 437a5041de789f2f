export async function updateReadmes(..._: unknown[]): Promise<void> {}
