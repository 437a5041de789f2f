/** The bundler's text loader turns a kernel file into its text. */
declare module '*.wgsl' {
  const source: string;
  export default source;
}
