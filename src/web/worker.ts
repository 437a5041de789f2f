/** A worker's side: an engine that the page calls. */
import { expose } from 'comlink';
import { Engine } from './engine/engine.ts';

expose(new Engine());
