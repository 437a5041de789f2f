/** Dictionaries beside the model: loaded for all panels, with checks that they fit. */
import { loadPlaced, parseReading } from '../../evaluation/index.ts';
import { formatSite, IOI_POSITIONS, parseSite } from '../../task/index.ts';
import type { DictionaryChoice, DictionaryFacts, Origin } from '../protocol.ts';
import { openOrigin, originName } from './origins.ts';
import type { Session } from './session.ts';

export class DictionaryEngine {
  private count = 0;

  constructor(private readonly session: Session) {}

  /**
   * Loads a dictionary in any of the layouts that the library reads; `choice` says which of several, and where it is used if its files do not. `id` is what
   * other calls are to name it by; one is made up unless given. Rejects with one line that says what does not fit: another model, width, hook or position,
   * or a broken file.
   */
  add(origin: Origin, id?: string, choice: DictionaryChoice = {}): Promise<DictionaryFacts> {
    const { session } = this;
    return session.job('dictionary', async (signal) => {
      const notes: string[] = [];
      const positions = session.task?.positions ?? IOI_POSITIONS;
      const called = originName(origin) + (choice.file ? `/${choice.file}` : '');
      const { place, file } = choice;
      const loaded = await loadPlaced(session.model, openOrigin(origin, { signal }), {
        label: called, positions, hint: 'z@L0H3@end or blocks.0.attn.hook_z:3', onNote: (text) => notes.push(text),
        ...(file ? { file } : {}), ...(place ? { place: place.startsWith('blocks.') ? parseReading(place) : parseSite(place, positions) } : {}),
      });
      const { dictionary, reads, site, name, variant } = loaded;
      const taken = id ?? this.freeId(called);
      const facts: DictionaryFacts = {
        id: taken, name: `${site ? formatSite(site) : reads.hook} ${name}`, origin, variant, features: dictionary.features, width: dictionary.dIn,
        site: site ? formatSite(site) : null, hook: reads.hook, head: reads.head, choice, about: { ...dictionary.metadata }, notes,
      };
      session.dictionaries.set(taken, { facts, loaded });
      return facts;
    });
  }

  async remove(id: string): Promise<void> {
    const { session } = this;
    await session.exclusive(() => {
      session.dictionaries.get(id)?.loaded.dictionary.dispose();
      session.dictionaries.delete(id);
    });
  }

  private freeId(name: string): string {
    let id = name;
    while (this.session.dictionaries.has(id)) id = `${name} ${++this.count + 1}`;
    return id;
  }
}
