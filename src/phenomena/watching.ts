/** What every study of this floor can be given beside its options. */
export interface Watch {
  /** Stops the study before its next part. */
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}
