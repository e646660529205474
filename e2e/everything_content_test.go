package e2e

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

// onePixel is the smallest picture.
func onePixel() []byte {
	img := image.NewRGBA(image.Rect(0, 0, 1, 1))
	img.Set(0, 0, color.RGBA{R: 255, A: 255})
	var buf bytes.Buffer
	if err := png.Encode(&buf, img); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// silence is the shortest sound: a WAV file without samples.
func silence() []byte {
	const rate, width = 8000, 1
	var buf bytes.Buffer
	buf.WriteString("RIFF")
	for _, field := range []any{
		uint32(36), [8]byte([]byte("WAVEfmt ")), uint32(16), uint16(1), uint16(1),
		uint32(rate), uint32(rate * width), uint16(width), uint16(8 * width), [4]byte([]byte("data")), uint32(0),
	} {
		if err := binary.Write(&buf, binary.LittleEndian, field); err != nil {
			panic(err)
		}
	}
	return buf.Bytes()
}

func addResources(s *mcp.Server) {
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
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: req.Params.URI, MIMEType: "image/png", Blob: onePixel()}}}, nil
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

func addPrompts(s *mcp.Server) {
	argument := func(name string) *mcp.PromptArgument {
		return &mcp.PromptArgument{Name: name, Description: name, Required: true}
	}
	s.AddPrompt(&mcp.Prompt{Name: "test_simple_prompt", Description: "simple"}, prompts(&mcp.TextContent{Text: "This is a simple prompt for testing."}))
	s.AddPrompt(&mcp.Prompt{Name: "test_prompt_with_image", Description: "image"},
		prompts(&mcp.ImageContent{Data: onePixel(), MIMEType: "image/png"}, &mcp.TextContent{Text: "Please analyze the image above."}))
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
