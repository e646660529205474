package everything

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// media are the smallest picture and the shortest sound.
type media struct{ png, wav []byte }

func newMedia() (media, error) {
	img := image.NewRGBA(image.Rect(0, 0, 1, 1))
	img.Set(0, 0, color.RGBA{R: 255, A: 255})
	var picture bytes.Buffer
	if err := png.Encode(&picture, img); err != nil {
		return media{}, fmt.Errorf("draw a picture: %w", err)
	}
	return media{png: picture.Bytes(), wav: silence()}, nil
}

// silence is a WAV file without samples: its header, with the sizes of what
// follows each of them.
func silence() []byte {
	const rate, width = 8000, 1
	le := binary.LittleEndian
	b := le.AppendUint32([]byte("RIFF"), 36)
	b = le.AppendUint32(append(b, "WAVEfmt "...), 16)
	b = le.AppendUint16(le.AppendUint16(b, 1), 1) // PCM, one channel
	b = le.AppendUint32(le.AppendUint32(b, rate), rate*width)
	b = le.AppendUint16(le.AppendUint16(b, width), 8*width)
	return le.AppendUint32(append(b, "data"...), 0)
}

func addResources(s *mcp.Server, m media) {
	text := func(text string) mcp.ResourceHandler {
		return func(_ context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: req.Params.URI, MIMEType: "text/plain", Text: text}}}, nil
		}
	}
	s.AddResource(&mcp.Resource{Name: "static-text", URI: "test://static-text", MIMEType: "text/plain"},
		text("This is the content of the static text resource."))
	s.AddResource(&mcp.Resource{Name: "watched-resource", URI: "test://watched-resource", MIMEType: "text/plain"}, text("watched"))
	s.AddResource(&mcp.Resource{Name: "static-binary", URI: "test://static-binary", MIMEType: "image/png"},
		func(_ context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: req.Params.URI, MIMEType: "image/png", Blob: m.png}}}, nil
		})
	const before, after = "test://template/", "/data"
	s.AddResourceTemplate(&mcp.ResourceTemplate{Name: "template", URITemplate: before + "{id}" + after, MIMEType: "application/json"},
		func(_ context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			id := strings.TrimSuffix(strings.TrimPrefix(req.Params.URI, before), after)
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{
				URI: req.Params.URI, MIMEType: "application/json", Text: fmt.Sprintf(`{"id":%q}`, id),
			}}}, nil
		})
}

func prompts(content ...mcp.Content) mcp.PromptHandler {
	return func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		res := &mcp.GetPromptResult{}
		for _, c := range content {
			res.Messages = append(res.Messages, &mcp.PromptMessage{Role: "user", Content: c})
		}
		return res, nil
	}
}

func addPrompts(s *mcp.Server, m media) {
	argument := func(name string) *mcp.PromptArgument {
		return &mcp.PromptArgument{Name: name, Description: name, Required: true}
	}
	s.AddPrompt(&mcp.Prompt{Name: "test_simple_prompt", Description: "simple"}, prompts(&mcp.TextContent{Text: "This is a simple prompt for testing."}))
	s.AddPrompt(&mcp.Prompt{Name: "test_prompt_with_image", Description: "image"},
		prompts(&mcp.ImageContent{Data: m.png, MIMEType: "image/png"}, &mcp.TextContent{Text: "Please analyze the image above."}))
	s.AddPrompt(&mcp.Prompt{Name: "test_prompt_with_arguments", Description: "arguments", Arguments: []*mcp.PromptArgument{argument("arg1"), argument("arg2")}},
		func(ctx context.Context, req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			args := req.Params.Arguments
			return prompts(&mcp.TextContent{Text: fmt.Sprintf("Prompt with arguments: arg1='%s', arg2='%s'", args["arg1"], args["arg2"])})(ctx, req)
		})
	s.AddPrompt(&mcp.Prompt{Name: "test_prompt_with_embedded_resource", Description: "resource", Arguments: []*mcp.PromptArgument{argument("resourceUri")}},
		func(ctx context.Context, req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			contents := &mcp.ResourceContents{URI: req.Params.Arguments["resourceUri"], MIMEType: "text/plain", Text: "embedded"}
			return prompts(&mcp.EmbeddedResource{Resource: contents}, &mcp.TextContent{Text: "Please process it."})(ctx, req)
		})
	s.AddPrompt(&mcp.Prompt{Name: "test_input_required_result_prompt", Description: "asks first"},
		func(ctx context.Context, req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			if said := accepted(req.Params.InputResponses, "user_context", "context"); said != nil {
				return prompts(&mcp.TextContent{Text: fmt.Sprintf("Context: %v", said)})(ctx, req)
			}
			return &mcp.GetPromptResult{InputRequests: mcp.InputRequestMap{"user_context": elicit("Please provide context", "context", "string")}}, nil
		})
}
