/**
 * Builds before the suite what cannot run from source, since Node 20 loads no TypeScript outside of
 * vitest: `dist/`, which the tests start as users do, and `dist-tools/`, whose modules the threads
 * and daemons of tests load one by one.
 */
import { execFileSync } from 'node:child_process'

export default function setup(): void {
  for (const name of ['build:ts', 'build:tools']) {
    execFileSync('npm', ['run', '--silent', name], { stdio: 'inherit' })
  }
}
