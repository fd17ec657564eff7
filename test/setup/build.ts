/** Compiles `dist/` before the suite: Node 20 workers load no TypeScript, so threads are tested there. */
import { execFileSync } from 'node:child_process'

export default function setup(): void {
  execFileSync('npx', ['tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' })
}
