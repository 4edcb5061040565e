package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// specification is the document, made strict: what it does not name must not appear.
var specification = sync.OnceValues(func() (*openapi3.T, error) {
	data, err := os.ReadFile("openapi.yaml")
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		return nil, err
	}
	for _, s := range doc.Components.Schemas {
		makeStrict(s.Value)
	}
	openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.FileBodyDecoder)
	return doc, doc.Validate(context.Background())
})

func makeStrict(s *openapi3.Schema) {
	if len(s.Properties) > 0 && s.AdditionalProperties.Schema == nil {
		s.AdditionalProperties = openapi3.BoolSchema{Has: new(false)}
	}
	for _, p := range s.Properties {
		makeStrict(p.Value)
	}
	if s.Items != nil {
		makeStrict(s.Items.Value)
	}
	if s.AdditionalProperties.Schema != nil {
		makeStrict(s.AdditionalProperties.Schema.Value)
	}
}

func loadSpecification(t *testing.T) (*openapi3.T, routers.Router) {
	t.Helper()
	doc, err := specification()
	if err != nil {
		t.Fatal(err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

// checked validates each request and response against the document. What the document
// refuses the API must refuse too; whatever it answers must be in the document.
func checked(t *testing.T, next http.Handler) http.Handler {
	doc, router := loadSpecification(t)
	options := &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read the request: %v", err)
		}
		described := r.Clone(r.Context())
		described.Body = io.NopCloser(bytes.NewReader(body))
		if r.Method == http.MethodHead {
			described.Method = http.MethodGet
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		said := &copied{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(said, r)

		route, params, err := router.FindRoute(described)
		if err != nil { // nothing is there, and that has a shape too
			if said.status != http.StatusNotFound && said.status != http.StatusMethodNotAllowed && !strings.HasPrefix(r.URL.Path, "/metrics") {
				t.Errorf("%s %s is not in the document, and answered with %d", r.Method, r.URL.Path, said.status)
			}
			if err := matches(doc, "Failure", said.body.Bytes()); err != nil && said.status >= 400 && r.Method != http.MethodHead {
				t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
			}
			return
		}
		input := &openapi3filter.RequestValidationInput{Request: described, PathParams: params, Route: route, Options: options}
		if err := openapi3filter.ValidateRequest(r.Context(), input); err != nil && said.status < 400 {
			t.Errorf("the document refuses %s %s %.200s, the API answers %d: %v", r.Method, r.URL, body, said.status, err)
		}
		if r.Method == http.MethodHead {
			return // net/http drops the body
		}
		output := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: said.status, Header: said.Header(), Options: options}
		output.SetBodyBytes(said.body.Bytes())
		if err := openapi3filter.ValidateResponse(r.Context(), output); err != nil {
			t.Errorf("the answer to %s %s is not in the document: %v", r.Method, r.URL, err)
		}
		if said.Header().Get("Content-Type") == "text/event-stream" {
			for line := range strings.Lines(said.body.String()) {
				if data, is := strings.CutPrefix(line, "data: "); is {
					if err := matches(doc, "Run", []byte(data)); err != nil {
						t.Errorf("an event of %s: %v", r.URL, err)
					}
				}
			}
		}
	})
}

func matches(doc *openapi3.T, schema string, data []byte) error {
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	return doc.Components.Schemas[schema].Value.VisitJSON(value)
}

// copied keeps what is answered.
type copied struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (c *copied) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *copied) Write(data []byte) (int, error) {
	c.body.Write(data)
	return c.ResponseWriter.Write(data)
}

func (c *copied) Unwrap() http.ResponseWriter { return c.ResponseWriter }
