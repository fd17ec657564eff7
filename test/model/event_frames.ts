/** The plain model of the event frames: the whole stretch at once, with strings and JSON. */

export interface ModelFrame {
  readonly number: number
  readonly data: string
}

/** Data of every event that has some, with the number of the event among all. */
export function modelFrames(text: string, first: number): { frames: ModelFrame[]; next: number } {
  const lines = text.split(/\r\n|\n|\r/)
  const frames: ModelFrame[] = []
  let number = first
  let data: string[] = []
  let hasLine = false
  const end = (): void => {
    if (!hasLine) return
    if (data.length > 0) frames.push({ number, data: data.join('\n') })
    number++
    data = []
    hasLine = false
  }
  for (const line of lines) {
    if (line === '') {
      end()
      continue
    }
    hasLine = true
    if (line === 'data') data.push('')
    else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''))
  }
  end()
  return { frames, next: number }
}
