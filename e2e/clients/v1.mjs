// A client of the official TypeScript SDK 1.x: protocol revisions to 2025-11-25.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
    ElicitRequestSchema,
    ResourceListChangedNotificationSchema,
    ResourceUpdatedNotificationSchema,
    ToolListChangedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { answerElicitation, drive, emit, pick, reconnectionOptions, requestInit } from './driver.mjs';

let client, transport;

drive({
    async connect({ url, token }) {
        client = new Client({ name: 'coatcheck-e2e-v1', version: '1.0.0' }, { capabilities: { elicitation: {} } });
        client.setRequestHandler(ElicitRequestSchema, answerElicitation);
        for (const schema of [ResourceUpdatedNotificationSchema, ResourceListChangedNotificationSchema, ToolListChangedNotificationSchema]) {
            client.setNotificationHandler(schema, ({ method, params }) => emit({ event: 'notification', method, params }));
        }
        transport = new StreamableHTTPClientTransport(new URL(url), { reconnectionOptions, requestInit: requestInit(token) });
        await client.connect(transport);
        return { server: client.getServerVersion(), session: transport.sessionId, version: transport.protocolVersion };
    },
    session: () => ({ session: transport.sessionId, version: transport.protocolVersion }),
    tools: async () => (await client.listTools()).tools.map((t) => t.name),
    call: async ({ name, arguments: args, timeout }) =>
        pick(await client.callTool({ name, arguments: args }, undefined, {
            timeout,
            onprogress: (progress) => emit({ event: 'progress', ...progress }),
        })),
    templates: async () => (await client.listResourceTemplates()).resourceTemplates.map((t) => t.uriTemplate),
    watch: async ({ uri }) => void (await client.subscribeResource({ uri })),
    read: async ({ uri }) => (await client.readResource({ uri })).contents,
    terminate: () => transport.terminateSession(),
    close: () => client.close(),
});
