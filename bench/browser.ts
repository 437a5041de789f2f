export async function benchInBrowser(_: unknown): Promise<never> { throw new Error('not yet'); }
