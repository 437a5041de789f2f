/** Types of node-adapter.mjs, which is plain JavaScript so that set-up can use it before anything is built. */
export const CHOICES: readonly string[];
export const OLDEST_MESA: number;
export function packageRoot(): string;
export function adapterChoice(): 'auto' | 'lavapipe' | 'swiftshader';
export function cacheFolder(): string;
export function readTar(archive: Buffer, wanted: readonly string[]): Map<string, Buffer>;
export function swiftshaderFolder(): string | null;
export function lavapipeManifests(folders?: readonly string[]): string[];
export function isSoftware(info: { vendor: string; architecture: string; device: string; description: string; isFallbackAdapter?: boolean }): boolean;
export function createInstance(create: (flags: string[]) => GPU, flags?: readonly string[]): Promise<GPU>;
