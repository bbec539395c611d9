import com.google.protobuf.ByteString;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import tensorflow.Tensorflow.DataType;
import tensorflow.Tensorflow.TensorProto;
import tensorflow.Tensorflow.TensorShapeProto;
import tensorflow.serving.PredictionServiceGrpc;
import tensorflow.serving.PredictionServiceGrpc.PredictionServiceBlockingStub;
import tensorflow.serving.Serving.ModelSpec;
import tensorflow.serving.Serving.PredictRequest;

/**
 * Embeds texts with a model on TensorFlow Serving or rawbert serve, and prints the first numbers of each vector:
 *
 * <pre>java Embed localhost:8500 minilm "plain strings go in"</pre>
 */
public final class Embed {
  private Embed() {}

  /** One vector for each text: the output "embedding" of the signature "embed", float32 [texts, dim]. */
  static float[][] embed(PredictionServiceBlockingStub stub, String model, List<String> texts) {
    TensorProto.Builder text =
        TensorProto.newBuilder()
            .setDtype(DataType.DT_STRING)
            .setTensorShape(
                TensorShapeProto.newBuilder().addDim(TensorShapeProto.Dim.newBuilder().setSize(texts.size())));
    texts.forEach(each -> text.addStringVal(ByteString.copyFromUtf8(each)));
    PredictRequest request =
        PredictRequest.newBuilder()
            .setModelSpec(ModelSpec.newBuilder().setName(model).setSignatureName("embed"))
            .putInputs("text", text.build())
            .addOutputFilter("embedding")
            .build();
    return rows(stub.predict(request).getOutputsOrThrow("embedding"));
  }

  /** The rows of a float32 tensor of two dimensions: encoded as tensor_content (little-endian) or as float_val. */
  private static float[][] rows(TensorProto tensor) {
    if (tensor.getDtype() != DataType.DT_FLOAT || tensor.getTensorShape().getDimCount() != 2) {
      throw new IllegalArgumentException("the answer has no float32 output of two dimensions");
    }
    int count = (int) tensor.getTensorShape().getDim(0).getSize();
    int dim = (int) tensor.getTensorShape().getDim(1).getSize();
    FloatBuffer numbers =
        tensor.getTensorContent().asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
    boolean isContent = tensor.getFloatValCount() == 0;
    float[][] vectors = new float[count][dim];
    for (int row = 0; row < count; row++) {
      for (int column = 0; column < dim; column++) {
        int at = row * dim + column;
        vectors[row][column] = isContent ? numbers.get(at) : tensor.getFloatVal(at);
      }
    }
    return vectors;
  }

  /** Arguments: HOST:PORT MODEL TEXT... */
  public static void main(String[] arguments) throws InterruptedException {
    if (arguments.length < 3) {
      System.err.println("usage: Embed HOST:PORT MODEL TEXT...");
      System.exit(2);
    }
    // Plain text; leave out usePlaintext for TLS.
    ManagedChannel channel = ManagedChannelBuilder.forTarget(arguments[0]).usePlaintext().build();
    try {
      // TensorFlow Serving ends work at a deadline, not when a caller is gone.
      PredictionServiceBlockingStub stub =
          PredictionServiceGrpc.newBlockingStub(channel).withDeadlineAfter(10, TimeUnit.SECONDS);
      List<String> texts = Arrays.asList(arguments).subList(2, arguments.length);
      for (float[] vector : embed(stub, arguments[1], texts)) {
        System.out.println(vector.length + " " + Arrays.toString(Arrays.copyOf(vector, 3)));
      }
    } finally {
      channel.shutdown().awaitTermination(5, TimeUnit.SECONDS);
    }
  }
}
