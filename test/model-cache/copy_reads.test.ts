/** Copy mode on a real mount: the daemon is killed while several threads read through it. */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import readline from 'node:readline'
import { describe, expect, test } from 'vitest'
import { isThere } from './killing.ts'
import { fast, inFast, place, source, useWorkplace } from './own_workplace.ts'
import { canMount } from './privileges.ts'
import { until } from './workplace.ts'

const MIB = 2 ** 20
const THREADS = 4
const LIVES = 3

useWorkplace()

/**
 * Reads random pieces by four threads, half of them past the page cache and half by dropping it
 * before each read, so that every read is a request to the daemon. Says what each thread has read
 * when it is asked, and at the end what went wrong.
 */
const READERS = `
import os, random, sys, threading
fast, source, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(source, 'rb') as f: truth = f.read()
counts, errors, ended = [0] * ${THREADS}, [], False
def read(me):
  chance = random.Random(seed + me)
  direct = os.O_DIRECT if me % 2 else 0
  fd = os.open(fast, os.O_RDONLY | direct)
  while not ended and not errors:
    size = chance.choice([4096, 65536, 1 << 20])
    at = chance.randrange(0, len(truth), 4096)
    try:
      if not direct: os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
      got = os.pread(fd, size, at)
      if got != truth[at:at + size]: errors.append(f'wrong bytes at {at}')
    except OSError as error: errors.append(repr(error))
    counts[me] += 1
  os.close(fd)
threads = [threading.Thread(target=read, args=(me,)) for me in range(${THREADS})]
for thread in threads: thread.start()
for line in sys.stdin:
  if line == 'end\\n': break
  print(*counts, flush=True)
ended = True
for thread in threads: thread.join()
print('errors', errors, flush=True)
`

class Readers {
  readonly #child
  readonly #lines: AsyncIterator<string>

  constructor(read: string, truth: string, seed: number) {
    const words = ['-c', READERS, read, truth, String(seed)]
    this.#child = spawn('python3', words, { stdio: ['pipe', 'pipe', 'inherit'] })
    const lines = readline.createInterface({ input: this.#child.stdout })
    this.#lines = lines[Symbol.asyncIterator]()
  }

  async #ask(word: string): Promise<string> {
    this.#child.stdin.write(`${word}\n`)
    return (await this.#lines.next()).value as string
  }

  /** Resolves when every thread has read some more, all of them after this was asked. */
  async goOn(): Promise<void> {
    const counts = async () => (await this.#ask('count')).split(' ').map(Number)
    const before = await counts()
    // The read that is under way may have begun before.
    await until(async () => (await counts()).every((count, me) => count >= before[me]! + 2))
  }

  async end(): Promise<string> {
    const last = await this.#ask('end')
    this.#child.stdin.end()
    await new Promise(resolve => this.#child.once('close', resolve))
    return last
  }
}

describe.runIf(canMount)('in copy mode', () => {
  test('readers on several threads notice nothing of killed daemons but a delay', async () => {
    const seed = Date.now() % 1_000_000
    place.write('m/a', randomBytes(24 * MIB + 123))
    const words = ['--capacity', '1GiB', '--mode', 'copy', '--preload', '/']
    await place.start('mount', source, fast, ...words)
    const readers = new Readers(inFast('m/a'), path.join(source, 'm/a'), seed)
    for (let life = 0; life < LIVES; life += 1) {
      await readers.goOn()
      const { daemon_pid: pid, restarts } = await place.asked()
      expect(restarts).toBe(life)
      process.kill(pid, 'SIGKILL')
      await until(() => !isThere(pid))
    }
    await readers.goOn()
    expect([seed, await readers.end()]).toEqual([seed, 'errors []'])
    const { restarts, caches } = await place.asked()
    expect([restarts, caches[0]!.mode]).toEqual([LIVES, 'copy'])
  })
})
