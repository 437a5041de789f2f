export const PAGE_FILES: string[];
export function peersInstalled(folder?: string): boolean;
export function installPeers(): Promise<void>;
