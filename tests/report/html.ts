/** A small reader of HTML that is strict where browsers forgive: every tag must close, attributes must be quoted. For tests of pages only. */
export interface Element { tag: string; attributes: Record<string, string>; children: (Element | string)[] }

const VOID = new Set(['meta', 'br', 'hr', 'img', 'input', 'link']);
const RAW = new Set(['script', 'style']);
const ENTITIES: Record<string, string> = { '&amp;': '&', '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#39;': "'" };
const decode = (text: string) => text.replace(/&(?:amp|lt|gt|quot|#39);/g, (entity) => ENTITIES[entity]!);

/** Throws where the text is not well formed. */
export function parseHtml(html: string): Element {
  const root: Element = { tag: '#root', attributes: {}, children: [] };
  const open = [root];
  let at = html.startsWith('<!doctype html>') ? '<!doctype html>'.length : 0;
  const tagPattern = /<(\/?)([a-zA-Z][\w-]*)((?:\s+[\w:-]+(?:="[^"<]*")?)*)\s*(\/?)>/y;
  while (at < html.length) {
    const top = open.at(-1)!;
    if (html[at] !== '<') {
      const next = html.indexOf('<', at);
      const text = html.slice(at, next < 0 ? html.length : next);
      if (text.includes('>')) throw new Error(`stray ">" in text: ${text.slice(0, 80)}`);
      top.children.push(decode(text));
      at += text.length;
      continue;
    }
    tagPattern.lastIndex = at;
    const match = tagPattern.exec(html);
    if (!match) throw new Error(`not a tag: ${html.slice(at, at + 80)}`);
    at = tagPattern.lastIndex;
    const [, closing, tag, rest, selfClosing] = match as unknown as [string, string, string, string, string];
    if (closing) {
      if (top.tag !== tag) throw new Error(`</${tag}> closes <${top.tag}>`);
      open.pop();
      continue;
    }
    const attributes = Object.fromEntries([...rest.matchAll(/([\w:-]+)(?:="([^"]*)")?/g)].map(([, name, value]) => [name!, decode(value ?? '')]));
    const element: Element = { tag, attributes, children: [] };
    top.children.push(element);
    if (RAW.has(tag)) {
      const end = html.indexOf(`</${tag}>`, at);
      element.children.push(html.slice(at, end));
      at = end + tag.length + 3;
    } else if (!selfClosing && !VOID.has(tag)) open.push(element);
  }
  if (open.length !== 1) throw new Error(`<${open.at(-1)!.tag}> never closes`);
  return root;
}

/** Every element below, and the element itself, in document order. */
export function all(element: Element): Element[] {
  return [element, ...element.children.flatMap((child) => (typeof child === 'string' ? [] : all(child)))];
}

export function textOf(element: Element): string {
  return element.children.map((child) => (typeof child === 'string' ? child : textOf(child))).join('');
}
