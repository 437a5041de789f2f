import type { Where } from './results.ts';

/** The browser's name and version from what it says of itself. */
export function browserOf(agent: string, platform: string): Where {
  const [, name = 'browser', version = '?'] = /(Edg|HeadlessChrome|Firefox)\/([\d.]+)/.exec(agent) ?? /(Chrome)\/([\d.]+)/.exec(agent) ?? (/Safari\//.test(agent) ? ['', 'Safari', /Version\/([\d.]+)/.exec(agent)?.[1] ?? '?'] : []);
  return { kind: 'browser', name, version, platform };
}
