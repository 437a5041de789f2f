/** Training a small dictionary in the page: the form, the run that is under way, and the runs that the browser keeps. */
import { useEffect } from 'preact/hooks';
import { epoch, panel } from '../state.ts';
import './train.css';
import { CurrentCard } from './train-current.tsx';
import { TrainForm } from './train-form.tsx';
import { RunList } from './train-list.tsx';
import { refreshRuns } from './train-run.ts';

export function TrainPanel() {
  // Other panels can delete what is stored.
  const isShown = panel.value === 'train';
  useEffect(() => { if (isShown) void refreshRuns().catch(() => {}); }, [epoch.value, isShown]);
  return (
    <>
      <section aria-labelledby="train-title">
        <h2 id="train-title">Train</h2>
        <p>A sparse autoencoder learns to write activations of the model as sums of few features. It is kept in this browser, where every panel can use it; nothing leaves the machine.</p>
        <TrainForm />
      </section>
      <CurrentCard />
      <RunList />
    </>
  );
}
