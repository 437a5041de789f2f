/** Types of mesa.mjs. */
export function parseOsRelease(text: string): Record<string, string>;
export function whyNoApt(): string | null;
export function backportsSource(files: readonly { name: string; text: string }[], codename: string): { extension: '.sources' | '.list'; text: string } | null;
export function majorVersions(madison: string): number[];
export function installLavapipe(): void;
