import { describe, expect, test } from 'vitest'
import { ATTEMPTS_MAX, BUDGET_RETRIES_MAX, RetryBudget } from '../../src/routing/retry_budget.ts'

describe('retry budget', () => {
  test('a refused connection and a reset cost one free retry each', () => {
    const attempts = new RetryBudget(0).begin()
    expect(attempts.mayRetry('refused')).toBe(true)
    expect(attempts.mayRetry('refused')).toBe(false)
    expect(attempts.mayRetry('reset')).toBe(true)
    expect(attempts.mayRetry('reset')).toBe(false)
    expect(attempts.count).toBe(3)
  })

  test('a full queue is always retried, up to the attempts of one exchange', () => {
    const budget = new RetryBudget(0)
    const attempts = budget.begin()
    for (let i = 1; i < ATTEMPTS_MAX; i++) expect(attempts.mayRetry('queue_full')).toBe(true)
    expect(attempts.mayRetry('queue_full')).toBe(false)
    expect(budget.spent).toBe(0)
  })

  test('retries after a status or a timeout are a tenth of the traffic in the long run', () => {
    const budget = new RetryBudget()
    let retries = 0
    for (let i = 0; i < 10_000; i++) {
      const attempts = budget.begin()
      if (attempts.mayRetry(i % 2 === 0 ? 'status' : 'timeout')) retries++
    }
    expect(retries).toBeLessThanOrEqual(1_000 + BUDGET_RETRIES_MAX)
    expect(retries).toBeGreaterThanOrEqual(1_000)
    expect(budget.spent).toBe(retries)
    expect(budget.refused).toBe(10_000 - retries)
  })

  test('no share means no paid retry at all', () => {
    expect(new RetryBudget(0).begin().mayRetry('status')).toBe(false)
  })

  test('savings stop at the bound', () => {
    const budget = new RetryBudget()
    for (let i = 0; i < 1_000; i++) budget.begin()
    let saved = 0
    while (budget.take()) saved++
    expect(saved).toBe(BUDGET_RETRIES_MAX)
  })
})
