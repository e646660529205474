// The protocol between the Go tests and a client: one JSON object a line.
// In:  {"id": 1, "op": "call", ...}
// Out: {"id": 1, "result": ...}, {"id": 1, "error": {...}}, {"event": "progress", ...}
import { createInterface } from 'node:readline';

export const emit = (message) => process.stdout.write(JSON.stringify(message) + '\n');

// answerElicitation is what the user says when a server asks.
export function answerElicitation(request) {
    emit({ event: 'elicitation', message: request.params.message });
    return { action: 'accept', content: { name: 'Ada' } };
}

const describe = (error) => ({
    name: error?.name,
    message: String(error?.message ?? error),
    code: error?.code,
    status: error?.status ?? error?.data?.status,
});

// drive answers each line with the peer's method of that name. Operations run
// side by side, so that a call may be cut off while another waits.
export function drive(peer) {
    createInterface({ input: process.stdin })
        .on('line', async (line) => {
            const { id, op, ...args } = JSON.parse(line);
            try {
                emit({ id, result: (await peer[op](args)) ?? null });
            } catch (error) {
                emit({ id, error: describe(error) });
            }
        })
        .on('close', () => process.exit(0));
}

// Servers come back within seconds in these tests; clients of a service would
// wait longer, in larger steps.
export const reconnectionOptions = {
    initialReconnectionDelay: 50,
    maxReconnectionDelay: 200,
    reconnectionDelayGrowFactor: 1.5,
    maxRetries: 200,
};

export const requestInit = (token) => (token ? { headers: { Authorization: `Bearer ${token}` } } : {});

// pick is what the tests look at in a tool's result.
export const pick = ({ structuredContent, isError, content }) => ({ structuredContent, isError: isError ?? false, content });
