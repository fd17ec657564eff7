/** `warmpath bench`: drives any OpenAI-compatible endpoint; options in bench/options.ts. */
import { runBench } from '../bench/bench.ts'
import { terminalOf } from '../bench/progress.ts'

function onInterrupt(stop: () => void): () => void {
  // The first Ctrl-C ends the sending and still prints what is known; a second one kills.
  process.once('SIGINT', stop)
  return () => void process.off('SIGINT', stop)
}

export async function run(argv: readonly string[]): Promise<number> {
  return await runBench(argv, {
    terminal: terminalOf(process.stderr, process.env),
    print: text => void process.stdout.write(text),
    onInterrupt,
  })
}
