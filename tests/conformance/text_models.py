"""Every text model that transformers gives by itself: all model types of its Auto classes, less those named here."""

from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES, MODEL_MAPPING_NAMES


# Why a model type is no text model. A type that a new transformers brings is in no list, so that a test asks for it.
NOT_TEXT: dict[str, str] = {
    "reads pictures or video": """
        aimv2_vision_model beit bit chinese_clip_vision_model clip_vision_model cohere_compass_vision conditional_detr
        convnext convnextv2 cosmos3_edge_vision cvt d_fine dab-detr data2vec-vision deformable_detr deimv2 deit
        depth_pro detr dinat dinov2 dinov2_with_registers dinov3_convnext dinov3_vit donut-swin dpt edgetam
        edgetam_video edgetam_vision_model efficientloftr efficientnet exaone4_5_vision focalnet gemma3n_vision
        gemma4_vision glm4v_moe_vision glm4v_vision glm5_next_vision glm_image_vision glm_image_vqmodel glm_ocr_vision
        glpn granite_docling_vision hgnet_v2 hiera hunyuan_vl_vision idefics3_vision ijepa imagegpt inkling2_vision
        internvl_vision kimi_k25_vision levit lfm3_vl_vision lightglue lw_detr mask2former maskformer maskformer-swin
        mgp-str minicpm_ocr_vision minicpmv4_7_vision mlcd mlcd_vision_model mobilenet_v1 mobilenet_v2 mobilevit
        mobilevitv2 muse_glimmer_vision muse_spark_vision oneformer pe_video_encoder pixio pixtral poolformer
        pp_doclayout_v3 pp_doclayout_v4 pp_ocrv5_mobile_rec pp_ocrv5_server_rec pp_ocrv6_medium_det pp_ocrv6_small_det
        pp_ocrv6_small_rec pp_ocrv6_tiny_rec pvt pvt_v2 qianfan_ocr_vision qwen2_5_vl_vision qwen3_5_moe_vision
        qwen3_5_vision qwen3_vl_moe_vision qwen3_vl_vision qwen4_exp_vision radio regnet resnet rf_detr rt_detr
        rt_detr_v2 sam sam2 sam2_hiera_det_model sam2_video sam2_vision_model sam3_tracker sam3_tracker_video sam3_video
        sam3_vision_model sam3_vit_model sam_hq sam_hq_vision_model sam_vision_model sapiens2 segformer seggpt
        siglip2_vision_model siglip_vision_model smolvlm_vision swiftformer swin swin2sr swinv2 table-transformer
        textnet timesformer timm_backbone timm_wrapper tipsv2_vision_model uvdoc video_llama_3_vision videomae
        videoprism_vision_model vit vit_mae vit_msn vitdet vivit vjepa2 yolos
    """,
    "pictures or video beside the text": """
        aimv2 align altclip aria aya_vision blip blip-2 blip_2_qformer bridgetower chameleon chinese_clip clip clipseg
        cohere2_vision cohere_compass cosmos3_edge cosmos3_omni deepseek_ocr2 deepseek_vl deepseek_vl_hybrid
        diffusion_gemma embedding_gemma2 ernie4_5_vl_moe exaone4_5 fast_vlm flava florence2 fuyu gemma3 git glm46v glm4v
        glm4v_moe glm5_next glm_image glm_ocr glmga got_ocr2 granite4_vision granite_docling grounding-dino groupvit
        hunyuan_vl hyperclovax_vision_v2 idefics idefics2 idefics3 inkling2 instructblip instructblipvideo internvl
        janus kimi_k25 kosmos-2 kosmos-2.5 layoutlmv2 layoutlmv3 lfm2_vl lfm3_vl lighton_ocr llava llava_next
        llava_next_video llava_onevision lxmert metaclip_2 minicpm_ocr minicpmv4_6 minicpmv4_7 minimax_m3_vl mistral3
        mistral_large4 mm-grounding-dino modernvbert molmo2 muse_glimmer neomme omdet-turbo ovis2 owlv2 owlvit
        paddleocr_vl paligemma perception_lm qianfan_ocr qwen2_5_vl qwen2_vl qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe
        qwen4_exp sam3 sam3_lite_text siglip siglip2 smolvlm step3p7 t5gemma2 t5gemma2_encoder tipsv2 tvp udop
        ultravbert unlimited_ocr video_llama_3 video_llava videoprism vilt vipllava vision-text-dual-encoder visual_bert
        xclip
    """,
    "reads or writes sound": """
        audio-spectrogram-transformer audioflamingo3_encoder bark canary clvp cohere_asr csm dac data2vec-audio dia
        encodec fastspeech2_conformer fastspeech2_conformer_with_hifigan fun_asr_nano_encoder gemma3n_audio gemma4_audio
        glmasr_encoder gradium_phonon_tts granite_speech5_ctc granite_speech5_encoder higgs_audio_v2
        higgs_audio_v2_tokenizer hubert lasr_ctc lasr_encoder mimi mimi_decoder mimi_encoder moonshine
        moonshine_streaming moshi moss_transcribe_diarize_audio muse_spark_audio musicgen musicgen_melody
        nemotron3_5_asr nemotron3_5_transcribe_asr_audio nemotron3_5_transcribe_audio
        nemotron3_5_transcribe_word_timestamp nemotron3_diarization nemotron3_diarization_audio nemotron_asr_streaming
        nemotron_asr_streaming_encoder neucodec parakeet_ctc parakeet_encoder parakeet_rnnt parakeet_tdt
        pe_audio_encoder pe_audio_video_encoder pocket_tts pocket_tts_audio_tokenizer
        pocket_tts_audio_tokenizer_decoder pocket_tts_audio_tokenizer_encoder qwen2_audio_encoder qwen3_asr_encoder
        sew sew-d speech_to_text speecht5 unispeech unispeech-sat univnet vibevoice_acoustic_tokenizer
        vibevoice_acoustic_tokenizer_decoder vibevoice_acoustic_tokenizer_encoder vits voxtral_encoder
        voxtral_realtime_encoder wav2vec2 wav2vec2-bert wav2vec2-conformer wavlm whisper xcodec xcodec2
    """,
    "sound, or sound and pictures, beside the text": """
        audioflamingo3 clap dots3_note fun_asr_nano gemma3n gemma4 gemma4_unified glmasr granite_speech
        granite_speech_plus inkling_mm_model kyutai_speech_to_text moss_transcribe_diarize muse_spark musicflamingo
        nemo_speechlm pe_audio pe_audio_video pe_video phi4_multimodal qwen2_5_omni_thinker qwen2_audio qwen3_asr
        qwen3_omni_moe_thinker seamless_m4t seamless_m4t_v2 vibevoice vibevoice_asr voxtral voxtral_realtime
    """,
    "reads proteins' structures beside the text": "evolla",
    "acts in an environment": "decision_transformer pi0",
    "reads time series": "autoformer informer patchtsmixer patchtst time_series_transformer timesfm timesfm2_5",
    "drafts tokens for another model": "muse_glimmer_assistant",
    "takes its input under another name, through a preprocessor": "perceiver",
    "transformers names a class that it does not have": "voxtral_realtime_text",
}


def known_types() -> list[str]:
    """Every model type that `AutoModel` or `AutoModelForTextEncoding` of this transformers knows."""
    return sorted({*MODEL_MAPPING_NAMES, *MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES})


def text_types() -> list[str]:
    """The model types that read a text, and nothing else beside it."""
    others = {name for names in NOT_TEXT.values() for name in names.split()}
    return [name for name in known_types() if name not in others]
