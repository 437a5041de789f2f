/** In which order a pass goes through the shards of a text. */
import { epochOrder } from './order.ts';

/**
 * Numbers of `count` files in an order that a seed and the number of the pass decide: what `readDocuments` takes as `order`. Which documents
 * are held out goes by their place in the list of files and is the same in every order.
 */
export function shardOrder(count: number, seed: number, pass = 0): number[] {
  return Array.from(epochOrder(count, seed, pass));
}
