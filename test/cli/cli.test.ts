import { execFile } from 'node:child_process'
import { expect, test } from 'vitest'
import { parse } from 'yaml'

interface Run {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs the built command line without the caller's WARMPATH_ variables. */
function warmpath(args: readonly string[], environment: Record<string, string> = {}): Promise<Run> {
  const env = { PATH: process.env.PATH ?? '', ...environment }
  return new Promise(resolve => {
    execFile(process.execPath, ['dist/cli.js', ...args], { env }, (error, stdout, stderr) => {
      const code = error === null ? 0 : Number(error.code)
      resolve({ code, stdout, stderr })
    })
  })
}

test('--help lists the commands', async () => {
  const { code, stdout } = await warmpath(['--help'])
  expect(code).toBe(0)
  const listed = [...stdout.matchAll(/^ {2}([a-z]+) {2}/gm)].map(match => match[1])
  expect(listed).toEqual(['serve', 'sim', 'bench', 'mount', 'warmup', 'cache', 'check'])
})

test('--version prints the version of the package', async () => {
  const { code, stdout } = await warmpath(['--version'])
  expect([code, stdout]).toEqual([0, '0.1.0\n'])
})

test.each([
  [['srve'], 'unknown command "srve"; the nearest is "serve"'],
  [['zzzzzz'], 'unknown command "zzzzzz"; see --help'],
  [['check', '--thread', '2'], 'unknown flag --thread; the nearest is --threads'],
  [['check', '--zzzzzz'], 'unknown flag --zzzzzz; see --help'],
  [['check', '--port'], "Option '--port <value>' argument missing"],
  [['check', 'extra'], 'unexpected argument "extra"'],
  [['check', '--model', 'x'], '--model: expected NAME=TOKENIZER_DIRECTORY, not "x"'],
  [['check', '--node', 'http://a:1,kv=2'], '--node: "kv=2" is none of kv_events='],
])('%j is a usage fault', async (args, expected) => {
  const { code, stdout, stderr } = await warmpath(args)
  expect(stderr).toContain(`warmpath: ${expected}`)
  expect([code, stdout]).toEqual([2, ''])
})

test('check prints the effective configuration with its secrets masked', async () => {
  const key = 'sk-0123456789abcdef0123456789abcdef'
  const args = ['check', '--port', '9100', '--node', 'http://a:8000', '--threads', '3']
  const { code, stdout } = await warmpath(args, { WARMPATH_API_KEYS: key })
  expect(code).toBe(0)
  expect(stdout).not.toContain(key)
  expect(parse(stdout)).toMatchObject({
    listen: '127.0.0.1:9100',
    admin: '127.0.0.1:9101',
    threads: 3,
    nodes: [{ url: 'http://a:8000' }],
    api_keys: [expect.stringMatching(/^\*\*\* \(tenant [0-9a-f]{12}\)$/)],
  })
  const asJson = await warmpath([...args, '--json'], { WARMPATH_API_KEYS: key })
  expect(JSON.parse(asJson.stdout)).toEqual(parse(stdout))
})

test('check ends with 1 and every fault when the gateway would not start', async () => {
  const { code, stdout, stderr } = await warmpath(['check', '--host', '0.0.0.0', '--threads', '0'])
  expect([code, stdout]).toEqual([1, ''])
  expect(stderr).toContain('--threads: threads: 0 is out of range: 1 to 256')
  const open = await warmpath(['check', '--host', '0.0.0.0'])
  expect(open.code).toBe(1)
  expect(open.stderr).toContain('no API key is set: add api_keys')
})
