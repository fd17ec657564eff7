import { describe, expect, test } from 'vitest'
import type { FleetView, NodeState, NodeView, ServedModel } from '../../src/nodes/fleet_view.ts'
import { describeModel, listModels, resolveModel, soleModel } from '../../src/nodes/models.ts'

function model(id: string, parent: string | null = null, more: object = {}): ServedModel {
  return { id, parent, body: { id, object: 'model', parent, ...more } }
}

function node(id: string, models: readonly ServedModel[], state: NodeState = 'healthy'): NodeView {
  return {
    id,
    url: `http://${id}`,
    state,
    epoch: 1,
    apiKey: null,
    models,
    indexModel:
      models
        .filter(({ parent }) => parent === null)
        .map(served => served.id)
        .sort()[0] ?? '',
    ranks: [],
    blockSize: 16,
    blockCount: 10,
    kvEvents: 'none',
    indexId: 0,
    inFlightMax: 8,
  }
}

function viewOf(...nodes: NodeView[]): FleetView {
  return { version: 1, nodes, models: [] }
}

describe('a request without a model', () => {
  test('is for the one base model, under its index name, whatever adapters there are', () => {
    const both = [model('b'), model('a'), model('lora', 'b')]
    const view = viewOf(node('x:1', both), node('y:1', [model('a')], 'unhealthy'))
    expect(soleModel(view)).toMatchObject({ baseModel: 'a', adapter: '' })
  })

  test('is for none in particular when there are several, or no node has told', () => {
    const view = viewOf(node('x:1', [model('a')]), node('y:1', [model('b')]))
    expect(soleModel(view)).toBeNull()
    expect(soleModel(viewOf(node('x:1', [])))).toBeNull()
  })
})

describe('the list of models', () => {
  test('is the union over the nodes, sorted, without duplicates', () => {
    const view = viewOf(
      node('a:1', [model('zeta'), model('alpha')]),
      node('b:1', [model('zeta'), model('beta')]),
    )
    expect(JSON.parse(listModels(view))).toEqual({
      object: 'list',
      data: [model('alpha').body, model('beta').body, model('zeta').body],
    })
  })

  test('keeps the models of a node that is down; a healthy node speaks first', () => {
    const down = node('a:1', [model('m', null, { root: 'old' }), model('only-here')], 'unhealthy')
    const up = node('b:1', [model('m', null, { root: 'new' })])
    const { data } = JSON.parse(listModels(viewOf(down, up)))
    expect(data).toEqual([model('m', null, { root: 'new' }).body, model('only-here').body])
    expect(JSON.parse(listModels(viewOf(down))).data).toHaveLength(2)
  })

  test('of an empty fleet is empty', () => {
    expect(listModels(viewOf())).toBe('{"object":"list","data":[]}')
  })

  test('has each item as its node gave it', () => {
    const body = { zeta: 1, id: 'm', permission: [{ x: null }] }
    const view = viewOf(node('a:1', [{ id: 'm', parent: null, body }]))
    expect(listModels(view)).toBe(`{"object":"list","data":[${JSON.stringify(body)}]}`)
    expect(describeModel('m', view)).toBe(JSON.stringify(body))
    expect(describeModel('n', view)).toBeNull()
  })
})

describe('resolveModel', () => {
  test('names the nodes that serve it, whatever their state', () => {
    const [a, b] = [node('a:1', [model('m')]), node('b:1', [model('m')], 'draining')]
    const view = viewOf(a, b, node('c:1', [model('other')]))
    expect(resolveModel('m', view)).toEqual({ id: 'm', nodes: [a, b], baseModel: 'm', adapter: '' })
    expect(resolveModel('unknown', view)).toBeNull()
  })

  test('an adapter has its base model', () => {
    const a = node('a:1', [model('m'), model('lora', 'm')])
    const view = viewOf(a, node('b:1', [model('m')]))
    const expected = { id: 'lora', nodes: [a], baseModel: 'm', adapter: 'lora' }
    expect(resolveModel('lora', view)).toEqual(expected)
  })

  test('names of one model share the base that its blocks are indexed under', () => {
    const view = viewOf(node('a:1', [model('z-name'), model('a-name'), model('lora', 'z-name')]))
    expect(resolveModel('z-name', view)?.baseModel).toBe('a-name')
    expect(resolveModel('a-name', view)?.baseModel).toBe('a-name')
    expect(resolveModel('lora', view)).toMatchObject({ baseModel: 'a-name', adapter: 'lora' })
  })

  test('a node that lists a model twice counts once', () => {
    const view = viewOf(node('a:1', [model('m'), model('m')]))
    expect(resolveModel('m', view)?.nodes).toHaveLength(1)
  })
})
