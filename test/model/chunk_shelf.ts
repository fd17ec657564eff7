/** What a sender should answer, by plain maps: the model of native/model_cache/shelf.h. */
interface PlainBlob {
  readonly generation: string
  readonly chunks: Map<number, string>
}

export class PlainShelf {
  readonly #blobs = new Map<string, PlainBlob>()

  put(file: string, generation: string): void {
    if (this.#blobs.get(file)?.generation === generation) return
    this.#blobs.set(file, { generation, chunks: new Map() })
  }

  putChunk(file: string, generation: string, chunk: number, hash: string): boolean {
    const blob = this.#blobs.get(file)
    if (blob === undefined || blob.generation !== generation) return false
    blob.chunks.set(chunk, hash)
    return true
  }

  drop(file: string, generation: string): void {
    if (this.#blobs.get(file)?.generation === generation) this.#blobs.delete(file)
  }

  /** The status, and the hash that comes with 206; 503 stands for "held, then refused". */
  get(file: string, generation: string, chunk: number): { status: number; hash: string } {
    const blob = this.#blobs.get(file)
    if (blob === undefined) return { status: 404, hash: '' }
    if (blob.generation !== generation) return { status: 409, hash: '' }
    const hash = blob.chunks.get(chunk)
    return hash === undefined ? { status: 503, hash: '' } : { status: 206, hash }
  }
}
