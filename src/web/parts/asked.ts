/** Questions to the engine that follow what a person chooses. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { epoch } from '../state.ts';

export interface Asked<T> {
  /** The newest answer; it stays while the next is awaited. */
  value: T | null;
  /** Whether the answer is to what is asked now. */
  current: boolean;
  error: string | null;
}

interface Told<T> { value: T | null; key: string | null; error: string | null }

/**
 * Asks whenever the key changes: after `delay` milliseconds of rest, one question at a time, and only the newest of those that came up meanwhile.
 * Asks again on another device. Null: there is nothing to ask.
 */
export function useAsked<T>(key: string | null, ask: () => Promise<T>, delay = 0): Asked<T> {
  const [told, tell] = useState<Told<T>>({ value: null, key: null, error: null });
  const round = epoch.value;
  const wanted = key === null ? null : `${round} ${key}`;
  const own = useRef({ wanted, ask, running: -1 });
  own.current.wanted = wanted;
  own.current.ask = ask;
  useEffect(() => {
    if (wanted === null) {
      tell({ value: null, key: null, error: null });
      return;
    }
    const next = async (): Promise<void> => {
      const state = own.current;
      // A question to a worker that is gone is never answered: it counts in its own round only.
      if (state.running === round || state.wanted !== wanted) return;
      for (let asked: string | null = null; state.wanted !== null && state.wanted !== asked && epoch.peek() === round;) {
        asked = state.wanted;
        state.running = round;
        try {
          const value = await state.ask();
          if (state.wanted === asked) tell({ value, key: asked, error: null });
        } catch (error) {
          const { name, message } = error as Error;
          if (state.wanted === asked && name !== 'AbortError' && name !== 'DeviceLostError') tell({ value: null, key: asked, error: message });
        }
        if (state.running !== round) return;
        state.running = -1;
      }
    };
    const timer = setTimeout(() => void next(), delay);
    return () => clearTimeout(timer);
  }, [wanted]);
  const current = wanted !== null && told.key === wanted;
  return { value: told.value, current, error: current ? told.error : null };
}
