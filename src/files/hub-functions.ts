/** What is used of Hugging Face's client, in a file of its own so that bundlers can leave the rest away. Loaded when a hub is first asked. */
export { datasetInfo, downloadFile, listFiles, modelInfo } from '@huggingface/hub';
