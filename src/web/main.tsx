/** The page: shows itself, then opens the device. */
import { render } from 'preact';
import { App } from './app.tsx';
import { engine, start } from './client.ts';
import { keepForOffline } from './offline.ts';
import { benchmarkEngine } from './panels/benchmark-run.ts';
import { evaluatingEngine } from './panels/evaluate-run.ts';
import { trainingEngine } from './panels/train-run.ts';
import { followAddress } from './state.ts';
import './style.css';

followAddress();
const root = document.getElementById('app')!;
root.replaceChildren();
render(<App />, root);
void start();
keepForOffline();
// For trying things in the browser's console: the live engine, such as await diffract.engine().memory(), and those of work under way.
Object.assign(globalThis, { diffract: { engine, trainingEngine, evaluatingEngine, benchmarkEngine } });
