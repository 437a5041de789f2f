/** Training sparse autoencoders: settings, schedules, resampling, checkpoints, many dictionaries at once. */
export { trainSaes, type TrainOptions, type TrainResult } from './train.ts';
export { checkSettings, trainDefaults, type SaeJob, type TrainSettings } from './settings.ts';
export { logLine, type LogRecord } from './log.ts';
export { readCheckpoint, type Checkpoint } from './checkpoint.ts';
export { scheduleOf, type Schedule } from './schedule.ts';
