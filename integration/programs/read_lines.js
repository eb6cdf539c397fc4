// What DSPy's sandbox imports from a server: the lines of a stream, here from a file.
export async function* readLines(input) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of input.readable) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop();
    yield* lines;
  }
  if (rest) yield rest;
}
