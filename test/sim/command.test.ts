import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))

const children: ChildProcess[] = []

function warmpath(...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [CLI, 'sim', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  children.push(child)
  return child
}

interface Line {
  id: string
  url: string
  kv_events: string[]
  kv_replay: string[]
}

async function readLines(child: ChildProcess, count: number): Promise<Line[]> {
  const found: Line[] = []
  for await (const line of createInterface({ input: child.stdout ?? expect.fail() })) {
    found.push(JSON.parse(line))
    if (found.length === count) break
  }
  return found
}

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

describe('warmpath sim', () => {
  it('prints a line a node when it is ready, and ends with 0 at SIGTERM', async () => {
    const child = warmpath('--nodes', '2', '--model', 'm', '--ranks', '2', '--time-factor', '0')
    const lines = await readLines(child, 2)
    for (const { id, url, kv_events: live, kv_replay: replay } of lines) {
      expect(url).toBe(`http://${id}`)
      expect([live.length, replay.length]).toEqual([2, 2])
      const models = await (await fetch(`${url}/v1/models`)).text()
      expect(models).toContain('"id":"m"')
    }
    child.kill('SIGTERM')
    expect(await once(child, 'exit')).toEqual([0, null])
  })

  it.each([
    [['--model-name', 'x'], 'unknown flag --model-name'],
    [['--block-size', '0'], '--block-size'],
    [['--era', 'E5'], '--era'],
    [['--nodes', '0'], '--nodes'],
  ])('refuses %j with exit code 2', async (args, message) => {
    const child = warmpath(...args)
    let text = ''
    child.stderr?.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    expect(await once(child, 'close')).toEqual([2, null])
    expect(text).toContain(message)
  })
})
