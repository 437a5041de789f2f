/** Has the page kept by the browser, so that it opens without a network. */
export function keepForOffline(): void {
  if (!('serviceWorker' in navigator) || !isSecureContext) return;
  // After the first prediction: what is shown comes first.
  addEventListener('load', () => { navigator.serviceWorker.register('service-worker.js').catch((error: Error) => console.warn(`the page is not kept for use offline: ${error.message}`)); });
}
