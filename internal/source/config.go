// Package source reads the Product Service's store: the products collection of a
// MongoDB database. It only ever reads.
package source

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/ecom-micro/etl/internal/secret"
)

// Config says where the products are.
type Config struct {
	URL        secret.URL  `env:"PRODUCT_SERVICE_MONGODB_URL"`
	User       string      `env:"MONGO_USER"`
	Password   secret.Text `env:"MONGO_PASSWORD"`
	Database   string      `env:"PRODUCT_DATABASE"`
	Collection string      `env:"PRODUCT_COLLECTION, default=products"`
}

// Validate reports every variable that is missing or wrong.
func (c *Config) Validate() error {
	var problems []error
	if c.URL == "" {
		problems = append(problems, errors.New("PRODUCT_SERVICE_MONGODB_URL is required: the MongoDB connection URL of the Product Service"))
	}
	var parsed *connstring.ConnString
	if c.URL != "" {
		var err error
		if parsed, err = c.parse(); err != nil {
			problems = append(problems, err)
		}
	}
	inURL := parsed != nil && parsed.Username != ""
	if c.User == "" && !inURL {
		problems = append(problems, errors.New("MONGO_USER is required: the MongoDB user name"))
	}
	if c.Password == "" && !inURL {
		problems = append(problems, errors.New("MONGO_PASSWORD is required: the MongoDB password"))
	}
	if parsed != nil && c.databaseOf(parsed) == "" {
		problems = append(problems, errors.New("PRODUCT_SERVICE_MONGODB_URL names no database: add /name behind its host, or set PRODUCT_DATABASE"))
	}
	if c.Collection == "" {
		problems = append(problems, errors.New("PRODUCT_COLLECTION is empty: name the products collection"))
	}
	return errors.Join(problems...)
}

// parse reads the URL. The parser's own message may quote the URL, so only its
// meaning is passed on.
func (c *Config) parse() (*connstring.ConnString, error) {
	url := c.URL.Reveal()
	if !strings.HasPrefix(url, connstring.SchemeMongoDB+"://") && !strings.HasPrefix(url, connstring.SchemeMongoDBSRV+"://") {
		return nil, errors.New("PRODUCT_SERVICE_MONGODB_URL must begin with mongodb:// or mongodb+srv://")
	}
	parsed, err := connstring.Parse(url)
	if err != nil {
		return nil, fmt.Errorf("PRODUCT_SERVICE_MONGODB_URL %s is not a valid MongoDB URL: %s", c.URL, withoutSecrets(err.Error(), url))
	}
	return parsed, nil
}

func withoutSecrets(message, url string) string {
	if _, rest, found := strings.Cut(url, "://"); found && strings.Contains(rest, "@") {
		return "check its form, and percent-encode special characters in the user name and password"
	}
	return message
}

func (c *Config) databaseOf(parsed *connstring.ConnString) string {
	if c.Database != "" {
		return c.Database
	}
	return parsed.Database
}

// clientOptions gives MONGO_USER and MONGO_PASSWORD to the driver with the
// authentication database that the platform's Node services use: the URL's
// authSource option, else the database in its path, else admin. (The Go driver
// by itself would take admin where the URL has no credentials.)
func (c *Config) clientOptions() (*options.ClientOptions, string, error) {
	parsed, err := c.parse()
	if err != nil {
		return nil, "", err
	}
	opts := options.Client().ApplyURI(c.URL.Reveal()).SetAppName("etl")
	if !parsed.ServerSelectionTimeoutSet {
		opts.SetServerSelectionTimeout(10 * time.Second)
	}
	if c.User != "" {
		credential := options.Credential{}
		if opts.Auth != nil {
			credential = *opts.Auth
		}
		credential.Username, credential.Password, credential.PasswordSet = c.User, c.Password.Reveal(), true
		credential.AuthMechanism = parsed.AuthMechanism
		switch {
		case parsed.AuthSourceSet:
			credential.AuthSource = parsed.AuthSource
		case parsed.Database != "":
			credential.AuthSource = parsed.Database
		default:
			credential.AuthSource = "admin"
		}
		opts.SetAuth(credential)
	}
	if err := opts.Validate(); err != nil {
		return nil, "", fmt.Errorf("PRODUCT_SERVICE_MONGODB_URL %s is not a valid MongoDB URL: %s", c.URL, withoutSecrets(err.Error(), c.URL.Reveal()))
	}
	return opts, c.databaseOf(parsed), nil
}
