export async function benchPage(_: unknown): Promise<string> { return ''; }
