/** The face of the mount without one; what it does is tested on real mounts in ../model-cache. */
import { describe, expect, test } from 'vitest'
import { handOver, ModelMount, probeFuse } from '../../src/native/model_mount.ts'
import { canMount } from '../model-cache/privileges.ts'

const callbacks = {
  onOpenWanted: () => undefined,
  onCheckWanted: () => undefined,
  onEnded: () => undefined,
}

describe('the face of the mount', () => {
  test('without a supervisor nothing was handed over', () => {
    expect(handOver()).toBeNull()
  })

  test('what a supervisor hands over is read from one variable', () => {
    process.env.WARMPATH_HAND_OVER = '17 2 3,4,0:45 5,6,0:46,1000'
    const handed = handOver()
    delete process.env.WARMPATH_HAND_OVER
    expect(handed).toEqual({
      supervisorPid: 17,
      restarts: 2,
      mounts: [
        { fuseFd: 3, storeFd: 4, device: '0:45', storeBytesMax: null },
        { fuseFd: 5, storeFd: 6, device: '0:46', storeBytesMax: 1000 },
      ],
    })
  })

  test('a descriptor or time out of its domain is a TypeError', () => {
    const handed = { fuseFd: -1, storeFd: 0, device: '', storeBytesMax: null }
    const options = { handed, mode: 'copy', revalidateMs: 1, openMsMax: 1, ...callbacks } as const
    expect(() => ModelMount.open(options)).toThrow(TypeError)
    const later = { ...options, handed: { ...handed, fuseFd: 0 }, revalidateMs: -1 }
    expect(() => ModelMount.open(later)).toThrow(TypeError)
  })

  test.skipIf(!canMount)('the probe names a mode and the reason, as often as it is asked', () => {
    const first = probeFuse()
    expect(['passthrough', 'copy']).toContain(first.mode)
    expect(first.reason.length).toBeGreaterThan(10)
    for (let i = 0; i < 20; i++) expect(probeFuse()).toEqual(first)
  })
})
