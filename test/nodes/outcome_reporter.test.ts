import { describe, expect, test } from 'vitest'
import { EMPTY_FLEET, type NodeOutcome, type NodeState } from '../../src/nodes/fleet_view.ts'
import { OutcomeReporter } from '../../src/nodes/outcome_reporter.ts'
import { FakeClock } from './fake_clock.ts'

const NODE = { id: 'a:1', epoch: 1 }

function setUp() {
  const clock = new FakeClock()
  const posted: NodeOutcome[] = []
  const reporter = new OutcomeReporter(clock, outcome => void posted.push(outcome))
  return { clock, reporter, kinds: () => posted.splice(0).map(({ kind }) => kind) }
}

function viewWith(state: NodeState) {
  const node = {
    ...NODE,
    url: 'http://a:1',
    state,
    apiKey: null,
    models: [],
    indexModel: '',
    ranks: [],
    blockSize: 0,
    blockCount: 0,
    kvEvents: 'none' as const,
    indexId: 0,
    inFlightMax: 1,
  }
  return { version: 1, nodes: [node], models: [] }
}

describe('OutcomeReporter', () => {
  test('a healthy node costs no message', () => {
    const { reporter, kinds } = setUp()
    for (let i = 0; i < 1000; i++) reporter.note(NODE, 'ok')
    expect(kinds()).toEqual([])
  })

  test('each failure is sent, and the success that ends their row, once', () => {
    const { reporter, kinds } = setUp()
    for (const kind of ['status5xx', 'reset', 'ok', 'ok', 'timeout', 'ok'] as const) {
      reporter.note(NODE, kind)
    }
    expect(kinds()).toEqual(['status5xx', 'reset', 'ok', 'timeout', 'ok'])
  })

  test('a storm of failures is bounded, and what is sent stays in order', async () => {
    const { clock, reporter, kinds } = setUp()
    for (let i = 0; i < 1000; i++) reporter.note(NODE, 'status5xx')
    reporter.note(NODE, 'ok')
    expect(kinds()).toEqual(Array(20).fill('status5xx'))
    await clock.advanceTo(100)
    reporter.note(NODE, 'ok')
    reporter.note(NODE, 'ok')
    expect(kinds()).toEqual(['ok'])
  })

  test('a new process has a window of its own', () => {
    const { reporter, kinds } = setUp()
    for (let i = 0; i < 30; i++) reporter.note(NODE, 'reset')
    kinds()
    reporter.note({ ...NODE, epoch: 2 }, 'refused')
    expect(kinds()).toEqual(['refused'])
  })

  test('the first success of a trial is sent by a thread that saw no failure', () => {
    const { reporter, kinds } = setUp()
    reporter.follow(viewWith('unhealthy'))
    reporter.follow(viewWith('healthy'))
    reporter.note(NODE, 'ok')
    reporter.note(NODE, 'ok')
    expect(kinds()).toEqual(['ok'])
  })

  test('a node that left is forgotten', () => {
    const { reporter, kinds } = setUp()
    reporter.note(NODE, 'reset')
    reporter.follow(EMPTY_FLEET)
    reporter.note(NODE, 'ok')
    expect(kinds()).toEqual(['reset'])
  })
})
