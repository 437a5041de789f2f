/**
 * The only script of the report: a box with the numbers of the mark under the pointer, and the embedded results as a file. Without it the page
 * shows everything else, and every number stands in a table.
 */
export const pageScript = `
const tip = document.getElementById('tip');
document.addEventListener('pointermove', (event) => {
  const mark = event.target.closest?.('figure [aria-roledescription][aria-label]');
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.getAttribute('aria-label');
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(event.clientX + 12, innerWidth - width - 4)) + 'px';
  tip.style.top = (event.clientY + 16 + height > innerHeight ? event.clientY - height - 8 : event.clientY + 16) + 'px';
});
const save = document.getElementById('save');
save.hidden = false;
save.addEventListener('click', () => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify(JSON.parse(document.getElementById('results').textContent), null, 1) + '\\n'], { type: 'application/json' }));
  link.download = save.dataset.file;
  link.click();
  URL.revokeObjectURL(link.href);
});
`.trim();
