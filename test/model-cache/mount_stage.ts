/**
 * New folders, and a mount that serves them, for each test of the block in which it is set. The
 * end of a test is one by itself: the supervisor exits with 0, and nothing stays mounted.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach } from 'vitest'
import { type Folders, makeFolders, Served, tidyUp } from './served.ts'

class MountStage {
  #folders: Folders | null = null
  #served: Served | null = null

  get folders(): Folders {
    if (this.#folders === null) throw new Error('the stage is not set')
    return this.#folders
  }

  open(): void {
    this.#folders = makeFolders()
  }

  /** Starts what serves the folders; the test's end stops it. */
  async start(words: readonly string[] = [], wrapper: readonly string[] = []): Promise<Served> {
    this.#served = await Served.start(this.folders, words, wrapper)
    return this.#served
  }

  /** Writes a file of the source. */
  readonly put = (name: string, bytes: Uint8Array | string): void => {
    const file = path.join(this.folders.source, name)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, bytes)
  }

  readonly onMount = (name: string): string => path.join(this.folders.mount, name)

  async close(): Promise<void> {
    const [folders, served] = [this.folders, this.#served]
    this.#folders = null
    this.#served = null
    await tidyUp(folders, served)
  }
}

export function useMountStage(): MountStage {
  const stage = new MountStage()
  beforeEach(() => stage.open())
  afterEach(() => stage.close())
  return stage
}
