// Embeds texts with a model on TensorFlow Serving or rawbert serve, and prints the first numbers of each vector:
//
//	go run . localhost:8500 minilm "plain strings go in"
//
// generate.sh writes the package serving from the protos.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"math"
	"os"
	"time"

	"google.golang.org/grpc"

	"example.com/rawbert/serving"
)

// Embed returns one vector for each text: the output "embedding" of the signature "embed", float32 [texts, dim].
func Embed(ctx context.Context, stub serving.PredictionServiceClient, model string, texts []string) ([][]float32, error) {
	values := make([][]byte, len(texts))
	for i, text := range texts {
		values[i] = []byte(text)
	}
	response, err := stub.Predict(ctx, &serving.PredictRequest{
		ModelSpec: &serving.ModelSpec{Name: model, SignatureName: "embed"},
		Inputs: map[string]*serving.TensorProto{"text": {
			Dtype:       serving.DataType_DT_STRING,
			TensorShape: &serving.TensorShapeProto{Dim: []*serving.TensorShapeProto_Dim{{Size: int64(len(texts))}}},
			StringVal:   values,
		}},
		OutputFilter: []string{"embedding"},
	})
	if err != nil {
		return nil, err
	}
	return rows(response.Outputs["embedding"])
}

// rows splits a float32 tensor of two dimensions. A server encodes it as tensor_content (little-endian) or as float_val.
func rows(tensor *serving.TensorProto) ([][]float32, error) {
	if tensor == nil || tensor.Dtype != serving.DataType_DT_FLOAT || len(tensor.TensorShape.GetDim()) != 2 {
		return nil, fmt.Errorf("the answer has no float32 output of two dimensions")
	}
	numbers := tensor.FloatVal
	if len(numbers) == 0 {
		for at := 0; at+4 <= len(tensor.TensorContent); at += 4 {
			numbers = append(numbers, math.Float32frombits(binary.LittleEndian.Uint32(tensor.TensorContent[at:])))
		}
	}
	count, dim := int(tensor.TensorShape.Dim[0].Size), int(tensor.TensorShape.Dim[1].Size)
	if count*dim != len(numbers) {
		return nil, fmt.Errorf("%d numbers for a shape of %d x %d", len(numbers), count, dim)
	}
	vectors := make([][]float32, count)
	for row := range vectors {
		vectors[row] = numbers[row*dim : (row+1)*dim]
	}
	return vectors, nil
}

func main() {
	if len(os.Args) < 4 {
		log.Fatal("usage: main HOST:PORT MODEL TEXT...")
	}
	// Plain text; give grpc.WithTransportCredentials for TLS.
	connection, err := grpc.Dial(os.Args[1], grpc.WithInsecure())
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	// TensorFlow Serving ends work at a deadline, not when a caller is gone.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	vectors, err := Embed(ctx, serving.NewPredictionServiceClient(connection), os.Args[2], os.Args[3:])
	if err != nil {
		log.Fatal(err)
	}
	for _, vector := range vectors {
		fmt.Println(len(vector), vector[:3])
	}
}
