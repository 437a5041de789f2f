/** Types of packages.mjs. */
export interface Lock { packages: Record<string, { version?: string; optional?: boolean; link?: boolean }> }
export function stalePackages(lock: Lock, installed: Partial<Lock>): string[];
export function packagesAreStale(root: string): boolean;
export function installPackages(root: string): void;
