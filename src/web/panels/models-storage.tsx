/** What the browser keeps for this page: a list with sizes, to open or delete, and how much there is room for. */
import { useEffect, useState } from 'preact/hooks';
import { files } from '../client.ts';
import { Notice } from '../parts/basic.tsx';
import { bytes } from '../parts/format.ts';
import type { StoredFacts } from '../protocol.ts';
import { keptVersion, open, type Word } from './models-state.ts';

interface Room { usage: number; quota: number; persisted: boolean }

const KINDS: Record<StoredFacts['kind'], string> = { hub: 'downloaded from the hub', model: 'model', dictionary: 'dictionaries', training: 'checkpoints: see Train', evaluation: 'results: see Evaluate' };

export function Storage() {
  const [list, setList] = useState<StoredFacts[] | null>(null);
  const [room, setRoom] = useState<Room | null>(null);
  const [word, setWord] = useState<Word | null>(null);
  const [asked, setAsked] = useState<string | null>(null);
  const version = keptVersion.value;
  const refresh = async (): Promise<void> => {
    try {
      setList(await files().list());
      const [{ usage = 0, quota = 0 }, persisted] = await Promise.all([navigator.storage.estimate(), navigator.storage.persisted()]);
      setRoom({ usage, quota, persisted });
    } catch (error) {
      setList([]);
      setWord({ kind: 'error', text: `The browser’s storage cannot be used: ${(error as Error).message}` });
    }
  };
  useEffect(() => { void refresh(); }, [version]);
  const remove = async ({ path, name }: StoredFacts): Promise<void> => {
    setAsked(null);
    try {
      await files().remove(path);
      setWord({ kind: 'note', text: `${name} is deleted.` });
    } catch (error) {
      setWord({ kind: 'error', text: (error as Error).message });
    }
    keptVersion.value++;
  };
  const persist = async (): Promise<void> => {
    const granted = await navigator.storage.persist();
    setWord(granted ? { kind: 'note', text: 'The browser will not clear it by itself.' } : { kind: 'warning', text: 'The browser did not agree. It may clear what is kept when the disk runs full; browsers agree more readily to pages that are bookmarked or installed.' });
    await refresh();
  };
  return (
    <section aria-labelledby="models-storage-title">
      <div class="row heading">
        <h2 id="models-storage-title">Kept in this browser</h2>
        <button type="button" class="small" onClick={() => void refresh()}>Refresh</button>
      </div>
      {room && (
        <p id="models-estimate" class="row">
          <span>{bytes(room.usage)} of about {bytes(room.quota)} that the browser gives this site are used{room.persisted ? '; it will not clear them by itself' : ''}.</span>
          {!room.persisted && <button type="button" class="small" onClick={() => void persist()}>Ask the browser to keep it</button>}
        </p>
      )}
      {word && <Notice kind={word.kind} id="models-storage-word">{word.text}</Notice>}
      {list && list.length === 0 && <p class="muted" id="models-storage-empty">Nothing is kept: no downloads, models, dictionaries, training runs or evaluations.</p>}
      {list && list.length > 0 && (
        <div class="scroll">
          <table id="models-storage">
            <caption>Downloads, models, dictionaries, training runs and evaluations</caption>
            <thead><tr><th class="text" scope="col">Name</th><th class="text" scope="col">Kind</th><th scope="col">Size</th><th scope="col">Files</th><th class="text" scope="col">What to do</th></tr></thead>
            <tbody>
              {list.map((one) => (
                <tr key={one.path}>
                  <th class="text" scope="row">{one.name}</th>
                  <td class="text">{KINDS[one.kind]}{one.unfinished > 0 && `, ${bytes(one.unfinished)} not complete`}</td>
                  <td>{bytes(one.bytes)}</td>
                  <td>{one.files}</td>
                  <td class="text">
                    {asked === one.path
                      ? <span role="group" aria-label={`Delete ${one.name}?`}>Delete it? <button type="button" class="small danger" onClick={() => void remove(one)}>Delete {bytes(one.bytes)}</button> <button type="button" class="small" onClick={() => setAsked(null)}>Keep</button></span>
                      : <>{one.origin && <button type="button" class="small" onClick={() => void open(one.origin!, one.name)}>Open<span class="visually-hidden"> {one.name}</span></button>} <button type="button" class="small" onClick={() => setAsked(one.path)}>Delete…<span class="visually-hidden"> {one.name}</span></button></>}
                  </td>
                </tr>
              ))}
            </tbody>
            <tfoot><tr><th class="text" scope="row" colSpan={2}>Together</th><td>{bytes(list.reduce((sum, one) => sum + one.bytes, 0))}</td><td>{list.reduce((sum, one) => sum + one.files, 0)}</td><td /></tr></tfoot>
          </table>
        </div>
      )}
    </section>
  );
}
