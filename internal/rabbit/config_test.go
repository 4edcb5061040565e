package rabbit

import (
	"strings"
	"testing"
)

func TestValidateNamesTheVariable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		config Config
		want   []string // one line each, which begins with it
	}{
		{"the default", Config{URL: "amqp://guest:guest@rabbitmq:5672/"}, nil},
		{"a vhost and options", Config{URL: "amqp://etl:hunter2@rabbitmq/shop?frameMax=8192&heartbeat=5"}, nil},
		{"with TLS", Config{URL: "amqps://etl:hunter2@rabbitmq/%2Fshop"}, nil},
		{"with management", Config{URL: "amqp://rabbitmq", ManagementURL: "https://etl:hunter2@rabbitmq:15672/prefix/"}, nil},
		{"nothing", Config{}, []string{"RABBITMQ_ENDPOINT must begin with amqp:// or amqps://"}},
		{"another scheme", Config{URL: "http://etl:hunter2@rabbitmq:15672"}, []string{"RABBITMQ_ENDPOINT must begin with amqp:// or amqps://"}},
		{"a host alone", Config{URL: "rabbitmq:5672"}, []string{"RABBITMQ_ENDPOINT must begin with amqp:// or amqps://"}},
		{"percent in the password", Config{URL: "amqp://etl:%hunter2@rabbitmq/"}, []string{"RABBITMQ_ENDPOINT"}},
		{"slash in the password", Config{URL: "amqp://etl:hunter2/@rabbitmq/"}, []string{"RABBITMQ_ENDPOINT"}},
		{"no at sign", Config{URL: "amqp://etl:hunter2/shop"}, []string{"RABBITMQ_ENDPOINT"}},
		{"a space", Config{URL: "amqp://etl:hunter2 @rabbitmq/shop"}, []string{"RABBITMQ_ENDPOINT"}},
		{"a port that is none", Config{URL: "amqp://etl:hunter2@rabbitmq:99999999/"}, []string{"RABBITMQ_ENDPOINT"}},
		{"a bad option", Config{URL: "amqp://etl:hunter2@rabbitmq/?heartbeat=often"}, []string{"RABBITMQ_ENDPOINT"}},
		{"management without a scheme", Config{URL: "amqp://rabbitmq", ManagementURL: "rabbitmq:15672"}, []string{"RABBITMQ_MANAGEMENT_URL"}},
		{"management of another scheme", Config{URL: "amqp://rabbitmq", ManagementURL: "amqp://etl:hunter2@rabbitmq"}, []string{"RABBITMQ_MANAGEMENT_URL"}},
		{"management without a host", Config{URL: "amqp://rabbitmq", ManagementURL: "http:///api"}, []string{"RABBITMQ_MANAGEMENT_URL"}},
		{"management with a bad password", Config{URL: "amqp://rabbitmq", ManagementURL: "http://etl:%hunter2@rabbitmq"}, []string{"RABBITMQ_MANAGEMENT_URL"}},
		{"both", Config{URL: "hunter2", ManagementURL: "hunter2"}, []string{"RABBITMQ_ENDPOINT", "RABBITMQ_MANAGEMENT_URL"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.config.Validate()
			if len(tt.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatalf("no error, want %q", tt.want)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tt.want) {
				t.Fatalf("%d lines, want %d: %q", len(lines), len(tt.want), lines)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("line %d is %q, want %q first", i, lines[i], want)
				}
			}
			if tt.config.ManagementURL != "" {
				if _, err := NewManagement(tt.config); err == nil || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("a client for it: %v", err)
				}
			}
			if _, err := NewConnection(tt.config, "etl test").Channel(t.Context()); strings.HasPrefix(tt.want[0], "RABBITMQ_ENDPOINT") &&
				(err == nil || !strings.HasPrefix(err.Error(), "RABBITMQ_ENDPOINT")) {
				t.Errorf("a channel of it: %v", err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the message tells the password: %v", err)
			}
		})
	}
}
