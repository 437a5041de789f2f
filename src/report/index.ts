/** Results as something to read: one HTML page, or a table for a terminal. */
export { renderReport, type ReportOptions } from './page.ts';
export { renderTable } from './table.ts';
export { charts, type Chart, type LegendEntry, type Panel } from './charts.ts';
export { summary, type InterpretabilitySum, type SummaryRow } from './summary.ts';
export { renderReproduction } from './reproduction/page.ts';
export { finalFigures, renderTraining, renderTrainingTable, type TrainingRun } from './training/page.ts';
