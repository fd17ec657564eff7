import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

/** What measures, or what a peer that is late to answer makes read its source a second time. */
const ALONE = [
  'test/bench/**/*.test.ts',
  'test/gateway/slow_reader.test.ts',
  'test/model-cache/**/*.test.ts',
]

const common = {
  // Every file has a process of its own: the native state is process-wide.
  pool: 'forks',
  testTimeout: 30_000,
  hookTimeout: 60_000,
} as const

export default defineConfig({
  test: {
    globalSetup: ['test/setup/build.ts', 'test/setup/left_behind.ts'],
    projects: [
      {
        test: {
          ...common,
          name: 'shared',
          include: ['test/**/*.test.ts'],
          exclude: ALONE,
          // They wait for processes and timers more than they compute: two share two cores well.
          maxWorkers: Math.max(2, availableParallelism() - 1),
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...common,
          name: 'alone',
          include: ALONE,
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
