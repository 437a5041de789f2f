/** Models and dictionaries: what is loaded, what can be, and what the browser keeps. Files can be dropped anywhere on it. */
import { useState } from 'preact/hooks';
import { CurrentModel } from './models-current.tsx';
import { Dictionaries } from './models-dictionaries.tsx';
import { OpenFiles } from './models-open.tsx';
import { openDropped } from './models-files.ts';
import { Storage } from './models-storage.tsx';
import './models.css';

export function ModelsPanel() {
  const [over, setOver] = useState(false);
  const hasFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes('Files') ?? false;
  return (
    <div
      class={over ? 'models over' : 'models'} id="models-drop"
      onDragOver={(event) => { if (hasFiles(event)) { event.preventDefault(); setOver(true); } }}
      onDragLeave={(event) => { if (!event.currentTarget.contains(event.relatedTarget as Node | null)) setOver(false); }}
      onDrop={(event) => {
        if (!hasFiles(event)) return;
        event.preventDefault();
        setOver(false);
        void openDropped(event.dataTransfer!);
      }}
    >
      <CurrentModel />
      <OpenFiles />
      <Dictionaries />
      <Storage />
    </div>
  );
}
