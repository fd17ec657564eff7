/**
 * Two ways to the same answer, compared as text.
 *
 * vLLM puts two tokens into one chunk when its server thread lags behind its engine, which a busy
 * machine makes it do now and then. So a difference is looked at again, each time with both sides
 * anew, and how often is part of the figures. A difference of the gateway's own stays.
 */
import { check } from './report.ts'

const TRIES_MAX = 10

export async function looksEqual(
  askDirect: () => Promise<string>,
  askThrough: () => Promise<string>,
): Promise<{ readonly text: string; readonly tries: number }> {
  for (let tries = 1; ; tries++) {
    const direct = await askDirect()
    const through = await askThrough()
    if (direct === through) return { text: through, tries }
    check(tries < TRIES_MAX, `through the gateway\n${through}\ndirect\n${direct}`)
  }
}
