// A client of the official TypeScript SDK 2.x, in the era it is told.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { answerElicitation, drive, emit, pick, reconnectionOptions, requestInit } from './driver.mjs';

let client, transport, modern;

drive({
    async connect({ url, token, mode }) {
        client = new Client(
            { name: 'coatcheck-e2e-v2', version: '1.0.0' },
            { capabilities: { elicitation: {} }, versionNegotiation: { mode } },
        );
        client.setRequestHandler('elicitation/create', answerElicitation);
        for (const method of ['notifications/resources/updated', 'notifications/resources/list_changed', 'notifications/tools/list_changed']) {
            client.setNotificationHandler(method, ({ method, params }) => emit({ event: 'notification', method, params }));
        }
        transport = new StreamableHTTPClientTransport(new URL(url), { reconnectionOptions, requestInit: requestInit(token) });
        await client.connect(transport);
        modern = client.getProtocolEra() === 'modern';
        return { server: client.getServerVersion(), session: transport.sessionId, version: client.getNegotiatedProtocolVersion() };
    },
    session: () => ({ session: transport.sessionId, version: client.getNegotiatedProtocolVersion() }),
    tools: async () => (await client.listTools()).tools.map((t) => t.name),
    call: async ({ name, arguments: args, timeout }) =>
        pick(await client.callTool({ name, arguments: args }, {
            timeout,
            onprogress: (progress) => emit({ event: 'progress', ...progress }),
        })),
    templates: async () => (await client.listResourceTemplates()).resourceTemplates.map((t) => t.uriTemplate),
    async watch({ uri }) {
        if (!modern) return void (await client.subscribeResource({ uri }));
        const subscription = await client.listen({ resourceSubscriptions: [uri] });
        subscription.closed.then((how) => emit({ event: 'unsubscribed', how }));
    },
    read: async ({ uri }) => (await client.readResource({ uri }, { cacheMode: 'bypass' })).contents,
    terminate: () => transport.terminateSession(),
    close: () => client.close(),
});
