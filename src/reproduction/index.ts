/** The whole of the paper on one model: stages that are kept, published numbers beside measured ones, and what all of it costs. */
export { addresses, addressOf, runStages, STAGES, stageFile, storeWithin, type Stage, type StageRecord, type StageStore } from './stage.ts';
