/**
 * Daemons that the kernel kills for want of memory: the supervisor gives memory back and lowers
 * the capacity before it starts the next, so there is no loop of kills, and readers see the right
 * bytes throughout. First with a counter that the test writes itself, then with a real shortage.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { CHUNK_BYTES } from '../../src/model-cache/digest.ts'
import { useHalfLoading } from './half_loading.ts'
import { freeze, isThere, storeOf } from './killing.ts'
import { memoryGroup } from './memory_group.ts'
import { fast, place, source } from './own_workplace.ts'
import { canMount } from './privileges.ts'
import { SUPERVISOR } from './served.ts'
import { digestOf } from './sha256.ts'
import { mapped, type Started, until } from './workplace.ts'

const MIB = 2 ** 20
const STORE_BYTES = 2 ** 30
const HALF = 'n/half'
/** Chunks of the file that is being loaded, and how many of them are there at the kill. */
const CHUNKS = 20
const LOADED = 3

const loading = useHalfLoading()

const whole = randomBytes(64 * MIB)
const half = randomBytes(CHUNKS * CHUNK_BYTES)

/** One file is resident, another is half loaded with a reader inside its open. */
function started(start: (words: string[]) => Promise<unknown>) {
  place.write('m/whole', whole)
  return loading.load(HALF, half, LOADED, async flags => {
    await start(['--capacity', '400MiB', ...flags])
    expect(await loading.digest('m/whole')).toBe(digestOf(whole))
  })
}

describe.runIf(canMount)('a supervisor that is told of kills for want of memory', () => {
  let events = ''
  let kills = 0

  const start = (words: string[]) => {
    events = path.join(place.folder, 'events')
    kills = 0
    writeFileSync(events, 'low 7\noom_kill 0\n')
    const cli = [process.execPath, 'dist/cli.js', 'mount', source, fast, ...words]
    const own = ['--memory-events', events, '--mount', fast]
    const bytes = ['--store-bytes', String(STORE_BYTES), '--']
    return place.startProgram(SUPERVISOR, ...own, ...bytes, ...cli)
  }

  const kill = async (pid: number): Promise<void> => {
    await freeze(pid)
    loading.peer!.cut()
    kills += 1
    writeFileSync(events, `low 7\noom_kill ${kills}\n`)
    process.kill(pid, 'SIGKILL')
    await until(() => !isThere(pid))
  }

  test('removes the half loaded file and lowers the capacity', async () => {
    const { reading, pid } = await started(start)
    await kill(pid)
    loading.peer!.gate = CHUNKS
    expect(await reading).toBe(digestOf(half))
    // From the first chunk on: nothing of it was left.
    expect(loading.peer!.given.toSorted((a, b) => a - b).slice(0, LOADED)).toEqual([0, 1, 2])
    const { restarts, caches } = await place.asked()
    const { capacity_bytes: capacity, used_bytes: used } = caches[0]!
    const held = whole.length + half.length
    expect(restarts).toBe(1)
    expect(capacity).toBeGreaterThanOrEqual((held / 4) * 3)
    expect(capacity).toBeLessThan(((held + 8 * MIB) / 4) * 3)
    expect(used).toBeLessThanOrEqual(capacity)
    expect(await loading.digest('m/whole')).toBe(digestOf(whole))
  })

  test('removes everything when it happens again at once, but from those who read it', async () => {
    let server: Started | null = null
    const { reading, pid } = await started(async words => {
      server = await start(words)
    })
    const errors = (): string => server!.errors()
    const digestMapped = await mapped(path.join(fast, 'm/whole'))
    await kill(pid)
    // The next daemon is there, and loads; it has taken over the file that was whole.
    await until(async () => {
      const now = await place.asked().catch(() => null)
      return now !== null && now.restarts === 1 && now.caches[0]!.used_bytes > 0
    })
    const { daemon_pid: second } = await place.asked()
    const store = storeOf(second)
    await freeze(second)
    expect(readdirSync(store).some(name => /^[0-9a-f]{32}\.[\d.]+$/.test(name))).toBe(true)
    await kill(second)
    loading.peer!.gate = CHUNKS
    await until(() => /: \d+ half loaded files removed.*: \d+ files removed/s.test(errors()))
    expect(await reading).toBe(digestOf(half))
    expect(await loading.digest('m/whole')).toBe(digestOf(whole))
    expect(await digestMapped()).toBe(digestOf(whole))
    const { restarts, caches } = await place.asked()
    expect(restarts).toBe(2)
    expect(caches[0]!.used_bytes).toBeLessThanOrEqual(caches[0]!.capacity_bytes)
  })

  test('takes a SIGKILL that nobody counted for what it is', async () => {
    const { reading, pid } = await started(start)
    process.kill(pid, 'SIGKILL')
    await until(() => !isThere(pid))
    loading.peer!.gate = CHUNKS
    expect(await reading).toBe(digestOf(half))
    const { caches } = await place.asked()
    expect(caches[0]!.capacity_bytes).toBe(400 * MIB)
  })
})

/** Takes memory until somebody was killed, then keeps it; ends with its stdin. */
const HOG = `
import re, sys
held = []
def kills():
  return int(re.search(r'^oom_kill (\\d+)$', open(sys.argv[1]).read(), re.M).group(1))
while kills() == 0:
  held.append(b'x' * (256 << 10))
print('killed', len(held), flush=True)
sys.stdin.read()
`

/**
 * Only where it is asked for: the kernel may take the neighbour as well when the daemon's memory
 * does not come back at once, which no test can prevent. The counters above stand in for it.
 */
const isAsked = process.env['WARMPATH_TEST_OOM'] === '1'

describe.runIf(canMount && isAsked)('a foreign process that takes the memory of the cgroup', () => {
  test('costs one daemon, and no reader an error', async ({ skip }) => {
    const group = memoryGroup(2 ** 30)
    if (group === null) return skip()
    // After the processes of the place have ended.
    onTestFinished(() => group.remove())
    const { wrapper, counter } = group
    const start = (words: string[]) =>
      place.startProgram(
        ...wrapper,
        process.execPath,
        'dist/cli.js',
        'mount',
        source,
        fast,
        ...words,
      )
    const { reading, pid } = await started(start)
    // The kernel takes the daemon first: a real neighbour would have to be smaller than it.
    writeFileSync(`/proc/${pid}/oom_score_adj`, '1000')
    const [shell = '', ...words] = wrapper
    const hog = spawn(shell, [...words, 'python3', '-c', HOG, counter], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const ended = new Promise(resolve => hog.once('close', resolve))
    onTestFinished(() => void hog.kill('SIGKILL'))
    let said = ''
    hog.stdout.on('data', part => {
      said += String(part)
    })
    await until(() => said.includes('killed') || hog.exitCode !== null || hog.signalCode !== null)
    expect([hog.exitCode, hog.signalCode]).toEqual([null, null])
    await until(() => !isThere(pid))
    loading.peer!.gate = CHUNKS
    expect(await reading).toBe(digestOf(half))
    for (let pass = 0; pass < 2; pass += 1) {
      expect(await loading.digest('m/whole')).toBe(digestOf(whole))
      expect(await loading.digest(HALF)).toBe(digestOf(half))
    }
    const { restarts, caches } = await place.asked()
    expect([restarts, group.oomKills()]).toEqual([1, 1])
    expect(caches[0]!.capacity_bytes).toBeLessThan(whole.length + half.length)
    hog.stdin.end()
    await ended
  })
})
