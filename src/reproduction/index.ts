/** The whole of the paper on one model: stages that are kept, published numbers beside measured ones, and what all of it costs. */
export { addresses, addressOf, runStages, STAGES, stageFile, storeWithin, type Stage, type StageRecord, type StageStore } from './stage.ts';
export { chosenStages, reproduce, stagesOf, type ReproductionOptions } from './reproduce.ts';
export { PRESETS, RELEASED, SIZES, settingsOf, type Settings } from './settings.ts';
export { REPRODUCTION_SCHEMA, reproductionJsonSchema, reproductionSchema, reproductionText, type PublishedRow, type Reproduction, type StageResults } from './results.ts';
export { comparePublished } from './compare.ts';
export { Lab } from './lab.ts';
export { planReproduction, type ReproductionPlan, type StagePlan } from './plan.ts';
