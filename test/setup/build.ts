/** Compiles `dist/` before the suite: workers of Node 20 load no TypeScript, so they run there. */
import { execFileSync } from 'node:child_process'

export default function setup(): void {
  execFileSync('npx', ['tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' })
}
