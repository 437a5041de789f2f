import type { Reproduction } from '../reproduction/index.ts';
export async function renderReproduction(reproduction: Reproduction): Promise<string> { return JSON.stringify(reproduction).slice(0, 10); }
